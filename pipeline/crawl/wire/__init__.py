"""Requests on the wire: connections to checked addresses, one HTTP exchange at a time, within bounds that hold."""

"""Look at data and propose a params file for it: `survey` finds what is there, a table of `detectors` says what it may
be, `render_params` writes it down."""

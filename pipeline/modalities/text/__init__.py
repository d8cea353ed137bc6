"""Check texts and turn them into token ids."""

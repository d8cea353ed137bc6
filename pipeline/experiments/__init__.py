"""Run the pipeline on other params, beside the user's own outputs: folds of a cross-validation, trials of a search."""

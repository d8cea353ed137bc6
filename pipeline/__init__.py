"""How data is made: one module a stage, under the name of the stage."""

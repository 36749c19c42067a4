"""The command line: one module a command group; options, printing, and wiring."""

"""What works here: the machine, a model, the program itself."""

"""What the command lines share: experiment files, flags, error messages and the process."""

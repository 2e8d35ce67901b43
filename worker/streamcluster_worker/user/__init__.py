"""Where the user's modules meet the process: their import, their children, their random numbers."""

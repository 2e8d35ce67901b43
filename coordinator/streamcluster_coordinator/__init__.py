"""The coordinator process and the command line. Nothing here is for users to import."""

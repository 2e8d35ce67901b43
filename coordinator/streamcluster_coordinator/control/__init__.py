"""The app's control and status topics: what hosts tell each other."""

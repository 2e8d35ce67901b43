"""What the operator gives: settings' files, security, credentials, logs."""

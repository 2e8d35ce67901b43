"""What the coordinator answers: to this host's commands, and to other hosts for theirs."""

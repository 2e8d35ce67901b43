"""What carries out what the machine decides, and feeds it with what happened: loop, processes, sockets."""

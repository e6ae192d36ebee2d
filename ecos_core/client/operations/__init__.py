"""What a client can be asked: each module holds one operation's request, its noise and its clean answer."""

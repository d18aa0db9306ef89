"""What peers say to each other, as values and as bytes: version 1 of the wire."""

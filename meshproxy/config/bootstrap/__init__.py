"""The bootstrap as a whole, and single resources as discovery brings them."""

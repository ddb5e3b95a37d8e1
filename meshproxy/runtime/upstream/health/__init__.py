"""Whether hosts are well: what active checks and the answers of traffic say of them."""

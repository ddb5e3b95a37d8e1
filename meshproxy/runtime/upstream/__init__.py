"""The hosts' side: clusters that live, their host sets and health, pools and the connections in them."""

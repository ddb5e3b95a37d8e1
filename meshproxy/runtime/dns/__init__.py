"""Names to addresses: questions to name servers over UDP and TCP, without ever holding the loop."""

"""What every part of a configuration is made of: addresses, data sources, formats, sources of discovery."""

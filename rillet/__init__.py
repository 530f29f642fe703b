"""The face: client, command line, importers, simulator."""

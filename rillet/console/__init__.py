"""The console: a web application that shows what the engine does, served beside the service."""

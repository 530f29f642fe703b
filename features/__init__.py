"""What is known about a user's session and about an item."""

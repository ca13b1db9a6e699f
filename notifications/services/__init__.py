"""What is done with news: dispatched to receivers, delivered, read and kept for a while."""

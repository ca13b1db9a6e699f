"""What is proposed, whatever it comes as, written so that it can be sent, and sent again."""

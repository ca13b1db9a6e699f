"""Who people are to Headgate: signing in and its limits, sessions, tokens with scopes, accounts."""

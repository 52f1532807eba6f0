"""What several tests share: a small group to fold, and a log to feed it from."""

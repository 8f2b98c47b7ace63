"""What is wrong, why, and what to run; changes nothing."""

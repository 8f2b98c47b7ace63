"""What to paste where: clients, engines, models and services as data."""

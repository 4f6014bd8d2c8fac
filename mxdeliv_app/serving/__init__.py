"""What our two applications under gunicorn share."""

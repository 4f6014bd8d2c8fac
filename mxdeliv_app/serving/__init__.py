"""What our web applications share: gunicorn's settings and worker, faults, browsers or programs."""

"""What must hold of a catalog before anything trains on it, and of scored images before drift is measured on them.

The YAML files are the contracts, written to be read and edited. `runner` applies them with Great Expectations, whose
import takes seconds; `report` holds the outcome and the gate without that import.
"""

"""What must hold of a catalog before anything trains on it, and the gate that enforces it.

catalog.yaml and split.yaml are the contracts, written to be read and edited. `runner` applies them with
Great Expectations, whose import takes seconds; `report` holds the outcome and the gate without that import.
"""

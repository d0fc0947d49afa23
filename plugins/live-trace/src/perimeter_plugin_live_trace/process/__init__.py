"""The live-trace process: takes records of workers, writes them, and shows them."""

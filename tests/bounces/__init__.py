"""Why a message can't be delivered, each cause made to happen in the lab, and what its sender is told."""

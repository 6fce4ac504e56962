"""What a converted module shows of itself: how long its layers take, what it was made of."""

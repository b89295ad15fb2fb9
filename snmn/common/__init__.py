"""What every room wants: vocabulary, boxes, schedules, errors meant for a user."""

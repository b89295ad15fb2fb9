"""Makes the data that SNMN trains on: rendered scenes, questions, layouts, features, imdbs."""

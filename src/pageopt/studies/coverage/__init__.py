"""The coverage study: are the estimators right, and do their intervals hold the truth as often as they say?"""

"""A scripted expert for Push-T, which makes the demonstrations that come with the project.

It plans with a simulation of its own: pick a point on the outline of the T, go there by a wide berth, push
straight in as far as this brings the T closest to its goal, look again. Few distinct contacts, straight pushes and a
wide berth make its demonstrations easy to imitate; the fastest pusher is not the best teacher.

Read in this order: `contacts`, `pushes`, `reach`, `planner`, `recorder`.
"""

"""A locustfile as a user would have it."""

from locust import FastHttpUser, constant, task


class Shopper(FastHttpUser):
    wait_time = constant(0.01)

    @task(3)
    def look(self):
        self.client.get("/health")

    @task
    def fail(self):
        self.client.get("/error")

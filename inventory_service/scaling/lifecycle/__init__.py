"""Lifecycle hooks: an Auto Scaling group waits for an answer before an instance serves, and before it ends.

Launching: CONTINUE when its host is live, healthy and on the desired release; ABANDON, with the reason, when that is
given up. Terminating: its host drains, then CONTINUE. While there is work going on, the group is asked to wait longer.

Messages of the queue (EventBridge's, or those that a hook sends itself) only say where to look: they come late, twice
and in any order. What the group itself says of the instance decides, so that each may be lost. An action is written
down before its message is deleted, and ended here after AWS took the answer; AWS takes it once.
"""

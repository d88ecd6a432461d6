package cluster

// Kill ends what the Cluster does as the end of the process would: nobody is told.
func (c *Cluster) Kill() {
	c.mu.Lock()
	c.stage = stageLeft
	c.mu.Unlock()
	c.stop()
	c.close()
}

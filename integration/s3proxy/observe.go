package s3proxy

// Observe has watch called for every request that ends from now on; nil ends
// it. Calls come from many goroutines and must not wait.
func (p *Proxy) Observe(watch func(Request)) {
	if watch == nil {
		p.watch.Store(nil)
		return
	}
	p.watch.Store(&watch)
}

// Carried says whether a fault of this kind hits after the server has carried
// the request out, so that its client cannot know.
func (k Kind) Carried() bool {
	switch k {
	case ResetAfter, Truncate, StallAfter:
		return true
	}
	return false
}

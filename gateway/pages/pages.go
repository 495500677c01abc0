package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
)

// Config is what Pages are made of.
type Config struct {
	Source status.Source
	Status http.Handler // a status.Handler; answers /-/metrics, /-/health, /-/ready and /-/status

	Interval time.Duration // between samples; 0: 2 s
	Keep     int           // samples; 0: 15 minutes of them
	Viewers  int           // of the event stream at the same time; 0: 64
	Files    bool          // there are listings to lead to
}

// Pages serves the status page, until Close.
type Pages struct {
	config  Config
	mux     *http.ServeMux
	history *history

	end  chan struct{} // closed by Close
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex               // guards viewers
	viewers map[chan []byte]struct{} // each has room for one event
}

var _ http.Handler = (*Pages)(nil)

// Open begins to take samples.
func Open(c Config) *Pages {
	if c.Interval == 0 {
		c.Interval = 2 * time.Second
	}
	if c.Keep == 0 {
		c.Keep = int(15 * time.Minute / c.Interval)
	}
	if c.Viewers == 0 {
		c.Viewers = 64
	}
	p := &Pages{
		config: c, history: newHistory(c.Keep), mux: http.NewServeMux(),
		end: make(chan struct{}), done: make(chan struct{}), viewers: map[chan []byte]struct{}{},
	}
	p.routes()
	go p.sample()
	return p
}

func (p *Pages) routes() {
	p.mux.HandleFunc("GET /-/{$}", p.page)
	p.mux.HandleFunc("GET /-/api/status", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, p.config.Source()) })
	p.mux.HandleFunc("GET /-/api/history", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, p.history.samples()) })
	p.mux.HandleFunc("GET /-/api/locks", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, append([]status.LockReport{}, p.config.Source().Locks...))
	})
	p.mux.HandleFunc("GET /-/api/events", p.events)
	p.mux.Handle("GET "+assetsPath, loaded)
	if p.config.Status != nil {
		p.mux.Handle("GET /-/", p.config.Status)
	}
}

// ServeHTTP answers what is below /-/.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// Close ends the sampling and all event streams.
func (p *Pages) Close() {
	close(p.end)
	<-p.done
}

func answerJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	// The client is gone if this fails.
	_ = json.NewEncoder(w).Encode(v)
}

func (p *Pages) page(w http.ResponseWriter, _ *http.Request) {
	render(w, http.StatusOK, "status.html", newView(p.config.Source(), p.history.recently(), p.config.Files))
}

// sample takes samples, and tells the viewers.
func (p *Pages) sample() {
	defer close(p.done)
	tick := time.NewTicker(p.config.Interval)
	defer tick.Stop()
	old, at := p.config.Source(), time.Now()
	for {
		select {
		case <-p.end:
			return
		case <-tick.C:
		}
		report, now := p.config.Source(), time.Now()
		s := between(old, report, now, now.Sub(at))
		old, at = report, now
		p.history.add(s)
		p.publish(report, s)
	}
}

// publish sends to each viewer what has changed; one that has not taken the last
// event yet goes without this one.
func (p *Pages) publish(report status.Report, s Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.viewers) == 0 {
		return
	}
	event, err := stateEvent(newView(report, p.history.recently(), p.config.Files), []Sample{s})
	if err != nil {
		return // a template of the program does not fail
	}
	for v := range p.viewers {
		select {
		case v <- event:
		default:
		}
	}
}

// state is the data of an event.
type state struct {
	Parts   map[string]string `json:"parts"` // HTML by the id of the element that it is for
	Samples []Sample          `json:"samples"`
}

func stateEvent(v *view, samples []Sample) ([]byte, error) {
	s := state{Parts: map[string]string{}, Samples: samples}
	for _, name := range partNames {
		var html bytes.Buffer
		if err := templates.ExecuteTemplate(&html, name, v); err != nil {
			return nil, err
		}
		s.Parts[name] = html.String()
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: state\ndata: %s\n\n", data), nil
}

// events answers with a stream (HTML standard, section 9.2, server-sent events):
// first all samples that there are, then what comes.
func (p *Pages) events(w http.ResponseWriter, r *http.Request) {
	v, ok := p.join()
	if !ok {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many look at the status already", http.StatusServiceUnavailable)
		return
	}
	defer p.leave(v)
	first, err := stateEvent(newView(p.config.Source(), p.history.recently(), p.config.Files), p.history.samples())
	if err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that would hold it back
	control := http.NewResponseController(w)
	for event := first; ; {
		// The answer has no end; each event has a time in which it must be taken. A
		// writer without deadlines is one of a test.
		_ = control.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if _, err := w.Write(event); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-p.end:
			return
		case event = <-v:
		}
	}
}

func (p *Pages) join() (chan []byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.viewers) >= p.config.Viewers {
		return nil, false
	}
	v := make(chan []byte, 1)
	p.viewers[v] = struct{}{}
	return v, true
}

func (p *Pages) leave(v chan []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.viewers, v)
}

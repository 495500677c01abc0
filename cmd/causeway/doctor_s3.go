package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
)

const (
	reachTimeout = 10 * time.Second
	probeTimeout = time.Minute

	// S3 refuses requests that are 15 minutes off.
	warnSkew = time.Minute
	failSkew = 15 * time.Minute

	// abandonedAfter is the age at which nobody goes on with an upload.
	abandonedAfter = 24 * time.Hour
)

// examination is the part of doctor that asks an S3 server. A check that
// fails ends it where the later ones could only fail too.
type examination struct {
	d        *diagnosis
	target   target
	endpoint string
	s3       s3.Config
	scanKeys int64
	now      func() time.Time
}

func (x *examination) run(ctx context.Context) {
	if !x.checkEndpoint(ctx) {
		return
	}
	stack, ok := x.checkBucket(ctx)
	if !ok {
		return
	}
	defer stack.close()
	x.checkCapabilities(ctx, stack)
	x.checkKeys(ctx, stack.top)
	x.checkUploads(ctx, stack.top)
}

// checkEndpoint finds out whether something answers HTTP there, and what it
// believes the time to be.
func (x *examination) checkEndpoint(ctx context.Context) bool {
	began := x.now()
	date, err := askDate(ctx, x.endpoint)
	took := x.now().Sub(began)
	if err != nil {
		x.d.fail("endpoint", fmt.Sprintf("%s: %v", x.endpoint, err), storeRemedy(store.Unavailable))
		return false
	}
	x.d.ok("endpoint", "%s answers in %v", x.endpoint, took.Round(time.Millisecond/10))
	server, err := http.ParseTime(date)
	if err != nil {
		x.d.warn("clock", "the endpoint does not tell its time", "Make sure that the clock is right if requests are refused as expired")
		return true
	}
	// The header was made at some moment of the request, and has whole seconds.
	skew := began.Add(took / 2).Sub(server.Add(time.Second / 2)).Round(time.Second)
	text := fmt.Sprintf("this host and the endpoint differ by %v", skew.Abs())
	remedy := "Set the clock of this host by NTP, or that of the endpoint"
	switch {
	case skew.Abs() >= failSkew:
		x.d.fail("clock", text+", and requests that are more than 15m off are refused", remedy)
	case skew.Abs() >= warnSkew:
		x.d.warn("clock", text, remedy)
	default:
		x.d.ok("clock", "%s", text)
	}
	return true
}

// askDate sends a request without credentials and returns the Date header of
// the answer, whatever the answer is.
func askDate(ctx context.Context, endpoint string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if socket, ok := strings.CutPrefix(endpoint, "unix:"); ok {
		endpoint = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return resp.Header.Get("Date"), nil
}

// checkBucket finds out whether the credentials open the bucket.
func (x *examination) checkBucket(ctx context.Context) (*stack, bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	stack, err := connect(ctx, x.s3, slog.New(slog.DiscardHandler))
	if err == nil {
		x.d.ok("credentials", "are accepted")
		x.d.ok("bucket", "%s can be listed", x.target)
		return stack, true
	}
	check := "bucket"
	switch store.KindOf(err) {
	case store.BadCredentials, store.Denied:
		check = "credentials"
	case store.NoBucket:
		x.d.ok("credentials", "are accepted")
	}
	x.d.fail(check, explain(err), remedyFor(err))
	return nil, false
}

// checkCapabilities runs the probe that mount runs.
func (x *examination) checkCapabilities(ctx context.Context, stack *stack) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := stack.probe(ctx)
	switch {
	case store.IsKind(err, store.Denied):
		x.d.warn("writing", explain(err), "For more than --read-only: "+storeRemedy(store.Denied))
		return
	case err != nil:
		x.d.fail("writing", explain(err), remedyFor(err))
		return
	}
	if missing := stack.caps.Missing(); len(missing) > 0 {
		refusal, _ := errors.AsType[*problem](missingCapabilities(missing))
		x.d.fail("conditional writes", "the endpoint does not enforce "+strings.Join(missing, ", "), refusal.remedy)
		return
	}
	text := "are enforced, also against concurrent writers"
	if lacks := lacking(stack.caps); len(lacks) > 0 {
		text += "; worked around: no " + strings.Join(lacks, ", no ")
	}
	x.d.ok("conditional writes", "%s", text)
}

// lacking names what the filesystem does without in another way.
func lacking(c store.Capabilities) []string {
	var names []string
	for _, one := range []struct {
		has  bool
		name string
	}{
		{c.CompleteIf, "conditions on CompleteMultipartUpload"},
		{c.DeleteIf, "If-Match on DeleteObject"},
		{c.CopySourceIf, "If-Match on the source of CopyObject"},
		{c.CopyIf, "conditions on the target of CopyObject"},
	} {
		if !one.has {
			names = append(names, one.name)
		}
	}
	return names
}

// checkKeys looks for keys that a filesystem cannot show.
func (x *examination) checkKeys(ctx context.Context, s store.Reader) {
	scan := &keyScan{}
	for opts := (store.ListOptions{}); ; {
		page, err := s.List(ctx, opts)
		if err != nil {
			x.d.fail("keys", explain(err), remedyFor(err))
			return
		}
		for _, o := range page.Objects {
			scan.visit(o.Key)
		}
		if opts.Token = page.Next; opts.Token == "" {
			break
		}
		if x.scanKeys > 0 && scan.seen >= x.scanKeys {
			scan.more = true
			break
		}
	}
	scan.report(x.d)
}

// checkUploads looks for multipart uploads that nobody will finish, which cost
// storage and are seen by no listing of objects.
func (x *examination) checkUploads(ctx context.Context, s store.Store) {
	lister, ok := store.As[store.UploadLister](s)
	if !ok {
		return
	}
	uploads, err := lister.ListUploads(ctx, "")
	if err != nil {
		x.d.warn("uploads", explain(err), "Allow s3:ListBucketMultipartUploads to have them checked")
		return
	}
	old, oldest := 0, store.Upload{}
	for _, u := range uploads {
		if x.now().Sub(u.Started) < abandonedAfter {
			continue
		}
		if old++; old == 1 || u.Started.Before(oldest.Started) {
			oldest = u
		}
	}
	if old == 0 {
		x.d.ok("uploads", "none was abandoned, %d under way", len(uploads))
		return
	}
	x.d.warn("uploads",
		fmt.Sprintf("%s began more than a day ago, the first %s for %s", plural(int64(old), "multipart upload"), oldest.Started.Format(time.DateOnly), oldest.Key),
		"Give the bucket a lifecycle rule with AbortIncompleteMultipartUpload, or abort them with aws s3api abort-multipart-upload")
}

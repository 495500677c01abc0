package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/causewayfs/causeway/store"
)

// defaultRegion signs requests when nothing names a region, as most servers
// other than AWS expect.
const defaultRegion = "us-east-1"

// Config says which bucket to open, and how.
type Config struct {
	Bucket string // required
	// Prefix is put before every key. It is empty or ends with "/".
	Prefix string
	// Region; empty means the default chain's, and then us-east-1.
	Region string
	// Endpoint is the server's URL; empty means the default chain's, and then
	// AWS. "unix:/path" is a server on a unix socket.
	Endpoint string
	// PathStyle puts the bucket into the path rather than the host name. It
	// is implied by an endpoint that is an address, a bare name or a socket.
	PathStyle bool
	// Credentials replace the default chain (environment, profile, web
	// identity, container, instance) where they are not nil.
	Credentials *Credentials
	// MaxConns limits the connections; 0 means 256. Requests beyond wait.
	MaxConns int
	// WrapTransport, if set, may observe or replace the transport. The
	// requests that fetch credentials do not pass through it.
	WrapTransport func(http.RoundTripper) http.RoundTripper
}

// Credentials are a key pair, with a token if they are temporary.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
}

// String hides the secrets, so that a Config may be printed.
func (c Credentials) String() string { return c.AccessKeyID + ":***" }

// GoString hides the secrets too.
func (c Credentials) GoString() string { return c.String() }

func (c *Config) check() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket given")
	case c.Prefix != "" && (!strings.HasSuffix(c.Prefix, "/") || strings.HasPrefix(c.Prefix, "/")):
		return fmt.Errorf("prefix %q must end with a slash and not begin with one", c.Prefix)
	}
	return nil
}

// Open prepares a Store. It sends no request to the bucket; [Store.CheckBucket]
// does. Two Stores share no connections, so traffic that must not queue behind
// bulk transfers gets a Store of its own. Kinds: [store.Invalid] for a Config
// that cannot work, [store.BadCredentials] for unreadable profiles.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, &store.Error{Op: opOpen, Key: cfg.Bucket, Kind: store.Invalid, Err: err}
	}
	where, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, &store.Error{Op: opOpen, Key: cfg.Bucket, Kind: store.Invalid, Err: err}
	}
	env, creds, err := loadEnvironment(ctx, cfg)
	if err != nil {
		return nil, &store.Error{Op: opOpen, Key: cfg.Bucket, Kind: store.BadCredentials, Err: err}
	}
	transport := newTransport(env, where.socket, cfg.MaxConns)
	s := &Store{
		bucket: cfg.Bucket, prefix: cfg.Prefix,
		creds: creds, closeIdle: transport.CloseIdleConnections,
	}
	var wrapped http.RoundTripper = transport
	if cfg.WrapTransport != nil {
		wrapped = cfg.WrapTransport(transport)
	}
	s.client = sdk.NewFromConfig(env, func(o *sdk.Options) {
		o.HTTPClient = &http.Client{Transport: wrapped, CheckRedirect: keepMethod}
		s.setOptions(o, cfg, where)
	})
	return s, nil
}

// setOptions makes a request cost one round trip and little CPU: no retries
// (package retry does them all), no checksums beside the signature and those
// that the operation demands, no 100-continue.
func (s *Store) setOptions(o *sdk.Options, cfg Config, where endpoint) {
	if where.url != "" {
		o.BaseEndpoint = aws.String(where.url)
	}
	if o.Region == "" {
		o.Region = defaultRegion
	}
	if o.BaseEndpoint != nil {
		at, err := parseEndpoint(*o.BaseEndpoint)
		o.UsePathStyle = err == nil && at.bare
		s.integrity = at.integrity()
	}
	s.integrity.set(o)
	o.UsePathStyle = o.UsePathStyle || cfg.PathStyle
	o.Retryer = aws.NopRetryer{}
	o.RetryMaxAttempts = 1
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true
	o.ContinueHeaderThresholdBytes = -1
	o.Logger = logging.Nop{}
	o.AppID = "causeway"
}

// endpoint is what an Endpoint string means.
type endpoint struct {
	url      string // empty: the default
	socket   string // path of a unix socket, or empty
	bare     bool   // the host has no name that a bucket could be put before
	loopback bool
	amazon   bool
}

func parseEndpoint(text string) (endpoint, error) {
	if text == "" {
		return endpoint{}, nil
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return endpoint{}, errors.New("endpoint names no socket")
		}
		return endpoint{url: "http://localhost", socket: path, bare: true, loopback: true}, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return endpoint{}, fmt.Errorf("parse endpoint: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return endpoint{}, fmt.Errorf("endpoint %q is not an http:// or https:// URL", text)
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return endpoint{
		url:      strings.TrimSuffix(text, "/"),
		bare:     ip != nil || !strings.Contains(host, "."),
		loopback: ip != nil && ip.IsLoopback() || host == "localhost",
		amazon:   strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn"),
	}, nil
}

// keepMethod follows the redirects that keep method and body, and hands the
// others to the caller as what they are.
func keepMethod(r *http.Request, _ []*http.Request) error {
	if r.Response != nil {
		switch r.Response.StatusCode {
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			return nil
		}
	}
	return http.ErrUseLastResponse
}

// baseTransport is the SDK's, with the CA bundle and proxy of the environment.
func baseTransport(env aws.Config) *http.Transport {
	if c, ok := env.HTTPClient.(*awshttp.BuildableClient); ok {
		return c.GetTransport()
	}
	return awshttp.NewBuildableClient().GetTransport()
}

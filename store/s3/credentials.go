package s3

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// refreshAhead is how long before their expiry temporary credentials are
// replaced, so that no request meets expired ones.
const refreshAhead = 5 * time.Minute

// refreshJitter is the part of refreshAhead that is left to chance. The SDK
// reports an expiry that is earlier by what remains; so credentials are good
// for surelyAhead after it.
const (
	refreshJitter = 0.5
	surelyAhead   = refreshAhead / 2
)

// reloadPause is the least time between two readings of the whole chain.
const reloadPause = time.Second

// loadEnvironment reads what the SDK reads: environment variables, profile,
// and, lazily, the sources of credentials.
func loadEnvironment(ctx context.Context, cfg Config) (aws.Config, *chain, error) {
	load := func(ctx context.Context) (aws.Config, error) {
		opts := []func(*config.LoadOptions) error{
			config.WithHTTPClient(awshttp.NewBuildableClient()),
			config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
				o.ExpiryWindow = refreshAhead
				o.ExpiryWindowJitterFrac = refreshJitter
			}),
		}
		if cfg.Region != "" {
			opts = append(opts, config.WithRegion(cfg.Region))
		}
		if c := cfg.Credentials; c != nil {
			opts = append(opts, config.WithCredentialsProvider(
				credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
		}
		return config.LoadDefaultConfig(ctx, opts...)
	}
	env, err := load(ctx)
	if err != nil {
		return aws.Config{}, nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	c := &chain{now: time.Now, load: load, current: env.Credentials}
	env.Credentials = c
	return env, c, nil
}

// chain is the default chain of credentials, read anew after the server has
// refused what it yielded: profiles on disk and environments of other kinds
// change while a mount lives.
type chain struct {
	now  func() time.Time
	load func(context.Context) (aws.Config, error)

	mu      sync.Mutex
	current aws.CredentialsProvider // guarded by mu
	refused bool                    // guarded by mu
	loaded  time.Time               // guarded by mu; last reload
	last    aws.Credentials         // guarded by mu; the last that were had
}

// credentialsError marks that credentials could not be had. If there have been
// some before, that is an outage of their source, which passes.
type credentialsError struct {
	err     error
	passing bool
}

func (e *credentialsError) Error() string { return "get credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements [aws.CredentialsProvider]. While they cannot be replaced,
// the last credentials are used for as long as the server takes them.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := c.provider(ctx).Retrieve(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = creds
		return creds, nil
	}
	if ctx.Err() == nil {
		c.refused = true
	}
	if c.last.HasKeys() && c.last.CanExpire && c.now().Before(c.last.Expires.Add(surelyAhead)) {
		return c.last, nil
	}
	return creds, &credentialsError{err: err, passing: c.last.HasKeys()}
}

// provider returns the current provider, after a reload if one is due.
func (c *chain) provider(ctx context.Context) aws.CredentialsProvider {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused && c.now().Sub(c.loaded) >= reloadPause {
		c.loaded = c.now()
		if env, err := c.load(ctx); err == nil && env.Credentials != nil {
			c.current, c.refused = env.Credentials, false
		}
	}
	return c.current
}

// refuse notes that the credentials did not work.
func (c *chain) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = true
}

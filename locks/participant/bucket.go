package participant

import "context"

// Sole is that of locks.Service.
func (p *Participant) Sole() bool { return false }

// Enter is that of locks.Service.
func (p *Participant) Enter(ctx context.Context) error {
	_, err := p.session(ctx)
	return err
}

func (s *session) floor() uint64 { return 0 }

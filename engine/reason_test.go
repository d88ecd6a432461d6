package engine

import (
	"fmt"
	"syscall"
	"testing"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestReasonOfErrors(t *testing.T) {
	for reason, errs := range map[Reason][]error{
		ReasonParseError:  {packet.ErrMalformed, fmt.Errorf("%w: no type", packet.ErrMalformed), ErrTooManyPackets},
		ReasonOverflow:    {ErrQueueFull, ErrBudget, ErrPendingBudget},
		ReasonPingTimeout: {ErrNeverHeard},
		ReasonTransportError: {
			ErrPollOverlap, ErrDataOverlap, ErrPollLost, ErrDataLost, ErrContentType, ErrHeartbeat, ErrCallbackPanic,
			ErrTooManyPolls, errMessageBudget, syscall.ECONNRESET, &wsframe.CloseError{Code: ws.StatusMessageTooBig},
		},
	} {
		for _, err := range errs {
			require.Equal(t, reason, reasonOf(err), err)
		}
	}
}

-- What begins after a loss is given sequence numbers above a multiple of this which no loss before had begun at: what was
-- accepted and not archived had some of those below.
local STRIDE = 1048576

// MULT18X18D of an ECP5: two operands of 18 bits, a product of 36, for simulation and for proofs.
//
// A register for each operand and one for the product, each with a clock enable of its own, as Yosys
// maps to it and nextpnr takes its parameters (Lattice describes the slice in FPGA-TN-02205, which
// could not be had when this was written: compare before relying on more). Modelled is what
// rtl.flow.absorb uses; all else answers with X: the pipeline register, the shift inputs, other
// clocks than CLK0, and a reset that is active, whose order with the clock enable is not relied on.
// The sign inputs pass the register of their operand. Registers start as 0.
module MULT18X18D (
  input
    A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
  output
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  parameter GSR = "ENABLED";
  parameter RESETMODE = "SYNC";

  // Bit 18 is the sign, or 0.
  wire [18:0] a = {SIGNEDA & A17,
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [18:0] b = {SIGNEDB & B17,
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};

  reg [18:0] a_register = 0, b_register = 0;
  reg [35:0] p_register = 0;

  wire ce_a = REG_INPUTA_CE == "CE0" ? CE0 : REG_INPUTA_CE == "CE1" ? CE1 :
              REG_INPUTA_CE == "CE2" ? CE2 : CE3;
  wire ce_b = REG_INPUTB_CE == "CE0" ? CE0 : REG_INPUTB_CE == "CE1" ? CE1 :
              REG_INPUTB_CE == "CE2" ? CE2 : CE3;
  wire ce_p = REG_OUTPUT_CE == "CE0" ? CE0 : REG_OUTPUT_CE == "CE1" ? CE1 :
              REG_OUTPUT_CE == "CE2" ? CE2 : CE3;

  wire signed [18:0] a_used = REG_INPUTA_CLK == "NONE" ? a : a_register;
  wire signed [18:0] b_used = REG_INPUTB_CLK == "NONE" ? b : b_register;
  wire signed [37:0] product = a_used * b_used;

  always @(posedge CLK0) begin
    if (ce_a) a_register <= a;
    if (ce_b) b_register <= b;
    if (ce_p) p_register <= product[35:0];
  end

  localparam REGISTERED =
    REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_OUTPUT_CLK != "NONE";
  localparam MODELLED =
    (REG_INPUTA_CLK == "NONE" || REG_INPUTA_CLK == "CLK0" && REG_INPUTA_RST == "RST0") &&
    (REG_INPUTB_CLK == "NONE" || REG_INPUTB_CLK == "CLK0" && REG_INPUTB_RST == "RST0") &&
    (REG_OUTPUT_CLK == "NONE" || REG_OUTPUT_CLK == "CLK0" && REG_OUTPUT_RST == "RST0") &&
    REG_PIPELINE_CLK == "NONE" && (!REGISTERED || GSR == "DISABLED" && RESETMODE == "SYNC");
  wire known = MODELLED && !SOURCEA && !SOURCEB && !(REGISTERED && RST0);

  assign {
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
  } = !known ? 36'bx : REG_OUTPUT_CLK == "NONE" ? product[35:0] : p_register;
endmodule

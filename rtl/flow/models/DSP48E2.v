// DSP48E2 of an UltraScale+: (D + A) * B + RND, or A * B, with registers, for simulation and proofs.
//
// By AMD's UG579 (UltraScale Architecture DSP Slice), of which parts could be had when this was
// written; AMD's own simulation model was read to compare enables, INMODE and widths. Modelled is
// what Yosys's map of products and rtl/parts/dsp48e2.py use; all else answers with X: other modes of
// INMODE, OPMODE and ALUMODE, cascades, C, carries, SIMD, pattern detection, active resets.
// A pre-adder of 27 bits, which wraps; a product of 27 x 18 bits, sign-extended to 48; W = RND with
// OPMODE[8:7] = 10, X and Y = M with OPMODE[3:0] = 0101. AREG, BREG = 1 use the second register,
// which CEA2, CEB2 enable. Registers start as 0.
module DSP48E2 #(
  parameter AMULTSEL = "A", A_INPUT = "DIRECT", BMULTSEL = "B", B_INPUT = "DIRECT",
  parameter PREADDINSEL = "A", USE_MULT = "MULTIPLY", USE_SIMD = "ONE48",
  parameter USE_WIDEXOR = "FALSE", USE_PATTERN_DETECT = "NO_PATDET", XORSIMD = "XOR24_48_96",
  parameter AUTORESET_PATDET = "NO_RESET", AUTORESET_PRIORITY = "RESET",
  parameter SEL_MASK = "MASK", SEL_PATTERN = "PATTERN",
  parameter [47:0] RND = 0, MASK = 48'h3FFFFFFFFFFF, PATTERN = 0,
  parameter integer AREG = 1, ACASCREG = 1, BREG = 1, BCASCREG = 1, CREG = 1, DREG = 1, ADREG = 1,
  parameter integer MREG = 1, PREG = 1, ALUMODEREG = 1, CARRYINREG = 1, CARRYINSELREG = 1,
  parameter integer INMODEREG = 1, OPMODEREG = 1,
  parameter IS_CLK_INVERTED = 0
) (
  input CLK,
  input [29:0] A, ACIN, input [17:0] B, BCIN, input [47:0] C, PCIN, input [26:0] D,
  input CARRYIN, CARRYCASCIN, MULTSIGNIN,
  input [3:0] ALUMODE, input [2:0] CARRYINSEL, input [4:0] INMODE, input [8:0] OPMODE,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
  output [47:0] P, PCOUT, output [29:0] ACOUT, output [17:0] BCOUT,
  output [3:0] CARRYOUT, output [7:0] XOROUT,
  output CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW, PATTERNDETECT, PATTERNBDETECT
);
  reg signed [26:0] a1 = 0, a2 = 0, d = 0, ad = 0;
  reg signed [17:0] b1 = 0, b2 = 0;
  reg signed [44:0] m = 0;
  reg [47:0] p = 0;

  wire signed [26:0] a_first = AREG == 2 ? a1 : A[26:0];
  wire signed [26:0] a_used = AREG == 0 ? A[26:0] : a2;
  wire signed [26:0] d_used = DREG == 0 ? D : d;
  wire signed [17:0] b_first = BREG == 2 ? b1 : B;
  wire signed [17:0] b_used = BREG == 0 ? B : b2;
  wire signed [26:0] added = d_used + a_used;
  wire signed [26:0] ad_used = ADREG == 0 ? added : ad;
  wire signed [26:0] left = AMULTSEL == "AD" ? ad_used : a_used;
  wire signed [44:0] product = left * b_used;
  wire signed [44:0] m_used = MREG == 0 ? product : m;
  wire [47:0] sum = {{3{m_used[44]}}, m_used} + (OPMODE[8:7] == 2'b10 ? RND : 48'd0);

  always @(posedge CLK) begin
    if (CEA1) a1 <= A[26:0];
    if (CEA2) a2 <= a_first;
    if (CED) d <= D;
    if (CEAD) ad <= added;
    if (CEB1) b1 <= B;
    if (CEB2) b2 <= b_first;
    if (CEM) m <= product;
    if (CEP) p <= sum;
  end

  // A register that is not there needs no enable: only those that are used keep their value.
  localparam MODELLED =
    A_INPUT == "DIRECT" && B_INPUT == "DIRECT" && BMULTSEL == "B" && PREADDINSEL == "A" &&
    USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" && USE_WIDEXOR == "FALSE" &&
    USE_PATTERN_DETECT == "NO_PATDET" && IS_CLK_INVERTED == 0 &&
    CREG == 0 && ALUMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0 && INMODEREG == 0 &&
    OPMODEREG == 0;
  wire resets = RSTA | RSTB | RSTD | RSTM | RSTP;  // one that is open answers with X, too
  wire registered = AREG != 0 || BREG != 0 || DREG != 0 || ADREG != 0 || MREG != 0 || PREG != 0;
  wire mode = INMODE == (AMULTSEL == "AD" ? 5'b00100 : 5'b00000) && ALUMODE == 4'b0000 &&
    CARRYINSEL == 3'b000 && !CARRYIN &&
    (OPMODE == 9'b000000101 || OPMODE == 9'b100000101);
  assign P = !(MODELLED && mode && (!registered || resets === 1'b0)) ? 48'bx : PREG == 0 ? sum : p;
  assign {PCOUT, ACOUT, BCOUT, CARRYOUT, XOROUT, CARRYCASCOUT, MULTSIGNOUT} = {110{1'bx}};
  assign {OVERFLOW, UNDERFLOW, PATTERNDETECT, PATTERNBDETECT} = 4'bx;
endmodule
